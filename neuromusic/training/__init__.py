"""Training of networks: settings, batches, fitting, trained networks, hyperparameter search."""
