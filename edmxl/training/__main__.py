"`python -m edmxl.training` trains, alone or as one of the processes that torchrun started."
import sys
from edmxl.training.worker import main
from .jobs import JOBS

sys.exit(main(JOBS))
