"""From a connection's certificate to a principal. Decides no permission."""
