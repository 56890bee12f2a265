"""`python -m dynaip`, which `accelerate launch -m dynaip` needs."""

from dynaip.apps.cli import main

if __name__ == "__main__":
    main()
