"""Vision-language models as judges: what they are asked, how, and what is kept of their answers."""
