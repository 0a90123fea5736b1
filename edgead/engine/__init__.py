"""The contract between engines and the runtime: sessions, pipelines, measurements, digests."""
