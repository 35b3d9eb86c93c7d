"""The ways to say on which days, and at what times of day, a window opens. Pure calendar: no time zone and no clock in it."""
