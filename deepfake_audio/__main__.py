"""``python -m deepfake_audio`` is ``deepfake-audio``."""

from .cli import main

if __name__ == "__main__":
    main()
