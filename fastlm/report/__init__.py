"""`fastlm report`: reproduces a write-up of CS336's first assignment, each figure next to the write-up's."""

from fastlm.report.write import write_report

__all__ = ["write_report"]
