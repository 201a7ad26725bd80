"""Train the small text-image model on made-up rooms: python scripts/text_image.py out=outputs/text_image"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("text_image")
