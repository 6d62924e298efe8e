"""The study, from params.yaml to the report. It uses the library, never the other way round."""
