"""The benchmark against OpenBao: both servers on this machine, one generator, short alternating slices."""
