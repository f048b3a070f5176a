"""`python -m penchant.cli`, where the entry point `penchant` is not on the path.

In: words a person types. Out: as `penchant`.
"""

from penchant.cli import main

if __name__ == "__main__":
    main()
