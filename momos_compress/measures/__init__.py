"""How complex weights are: BDM, bit-planes, rates of compressors, and the topology of what is not zero."""
