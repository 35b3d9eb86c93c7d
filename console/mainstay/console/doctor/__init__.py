"""What is wrong with the controller and the hosts, and what to do. Reads only."""
