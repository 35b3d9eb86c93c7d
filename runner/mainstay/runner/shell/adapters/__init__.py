"""SSH by fabric and paramiko. Nothing outside this folder imports them."""
