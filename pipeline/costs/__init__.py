"""What it will cost, in tokens and nano-dollars: integer arithmetic over dated data. Pure."""
