"""Run what a table lacks, or gather finished runs: python scripts/table.py experiment=table4_cpu data.root=DIR"""

from hydra.core.hydra_config import HydraConfig

from mvdecor.apps.tables import run_table
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(lambda cfg: run_table(cfg, HydraConfig.get().overrides.task), config="table")
