"""Run the command line as `python -m penchant`.

In: arguments. Out: as `penchant`.
"""

from penchant.cli import main

if __name__ == "__main__":
    main()
