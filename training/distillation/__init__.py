"""The second version of the bundled models: students of an ensemble of two bi-encoders and of the first version."""
