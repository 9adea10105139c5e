"""`python -m chaos.hotel.sweeps`: what `bff sweep` is; its shards are begun so."""

from chaos.hotel.sweeps.commands import sweep

if __name__ == "__main__":
    sweep(prog_name="bff sweep")
