"""A job's schedule in the words of what else can start it: systemd, cron, Kubernetes. No secrets inside."""

from batchexport.emit.crontab import crontab
from batchexport.emit.kubernetes import cron_job
from batchexport.emit.order import StartOrder
from batchexport.emit.systemd import service, timer

__all__ = ["StartOrder", "cron_job", "crontab", "service", "timer"]
