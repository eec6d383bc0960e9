"""The FiVE model in four rooms: data, networks, training, prediction."""
