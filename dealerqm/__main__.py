"""``python -m dealerqm``."""

from dealerqm.cli import main

if __name__ == "__main__":
    main()
