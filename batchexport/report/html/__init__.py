"""The report as one page of HTML that needs nothing else: no script, no network, charts as inline SVG."""

from batchexport.report.html.page import night_html

__all__ = ["night_html"]
