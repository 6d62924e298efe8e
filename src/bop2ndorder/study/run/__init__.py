"""One run: trained, judged, recorded."""
