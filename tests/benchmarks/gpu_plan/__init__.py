"""The plan of `gpu.py`: its steps (`table`), what runs them (`runner`), what they write (`records`), and their code."""
