"""Whether Optuna's study, MLflow's runs and the artifacts of a study agree, and how they are made to.

``sides`` reads what Optuna holds and what MLflow holds; ``diagnosis`` compares the two and knows no store; ``examine``
is the whole of it, and alone writes.
"""
