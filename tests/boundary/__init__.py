"""Who may do what: the accounts of nats.conf, attacked by the users who stand in them."""
