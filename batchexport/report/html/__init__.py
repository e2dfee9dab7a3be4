"""The report as one self-contained HTML page: no script, no network, charts as inline SVG."""

from batchexport.report.html.page import html_report

__all__ = ["html_report"]
