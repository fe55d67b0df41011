"""What a study is going to do, before anything is trained: its definition, its plan, its search space. Pure."""
