"`python -m edmxl` is the command `edmxl`."
import sys
from edmxl.workbench.command_line import main

sys.exit(main())
