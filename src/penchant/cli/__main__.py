"""Run the command line as `python -m penchant.cli`.

In: words a person types. Out: as `penchant`.
"""

from penchant.cli import main

if __name__ == "__main__":
    main()
