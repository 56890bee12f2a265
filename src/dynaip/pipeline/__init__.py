"""Pictures in, pictures out: references, subjects, the FLUX pipeline, and provenance."""
