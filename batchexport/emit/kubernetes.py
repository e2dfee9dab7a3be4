"""A Kubernetes CronJob."""

from __future__ import annotations

import json

from batchexport.emit.order import StartOrder
from batchexport.errors import ConfigError
from batchexport.schedule import Schedule, fields_of

#: Without a window, a start may come so late.
_LATEST_START_S = 3600

#: How long a drain may take: as an answer does, or as a copy of the largest volumes.
_GRACE_S, _GRACE_WITH_SERVERS_S = 180, 86_400

_MANIFEST = """\
{mark}
# The claim {claim} holds {job}, its list and its state files, all under {folder}.
# The secret {secret} holds clouds.yaml; nothing secret stands here.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: {cron}
  timeZone: {zone}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {deadline_s}
  jobTemplate:
    spec:
      # What died is started again and carries on; what ended on purpose is not. 75: the window closed with
      # work left. Kubernetes shows such a night as failed, and the next one goes on with it. 4 is none of
      # them: the lease of a pod that was killed lasts 30 s longer than the pod.
      backoffLimit: 3
      podFailurePolicy:
        rules:
          - action: FailJob
            onExitCodes:
              containerName: batchexport
              operator: In
              values: [2, 3, 5, 6, 75]
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: {grace_s}
          automountServiceAccountToken: false
          securityContext:
            # That of the image which the Dockerfile of batchexport makes.
            fsGroup: 10001
            fsGroupChangePolicy: OnRootMismatch
            seccompProfile:
              type: RuntimeDefault
          containers:
            - name: batchexport
              image: {image}
              args: ["run", {job_path}]
              workingDir: {folder_json}
              securityContext:
                allowPrivilegeEscalation: false
                capabilities:
                  drop: ["ALL"]
              resources:
                requests:
                  cpu: 100m
                  memory: 256Mi
              env:
                - name: OS_CLIENT_CONFIG_FILE
                  value: /etc/openstack/clouds.yaml
              volumeMounts:
                - name: jobs
                  mountPath: {folder_json}
                - name: clouds
                  mountPath: /etc/openstack
                  readOnly: true
          volumes:
            - name: jobs
              persistentVolumeClaim:
                claimName: {claim}
            - name: clouds
              secret:
                secretName: {secret}
"""


def cron_job(order: StartOrder, *, image: str) -> str:
    """The manifest, in YAML. `image` is a container image whose entry point is batchexport.

    Raises ConfigError for a schedule that Kubernetes cannot keep.
    """
    folder = str(order.job_path.parent)
    return _MANIFEST.format(
        mark=order.mark,
        grace_s=_GRACE_WITH_SERVERS_S if order.stops_servers else _GRACE_S,
        name=order.name,
        claim=order.name,
        secret="openstack-clouds",
        job=order.job_path.name,
        folder=folder,
        folder_json=_quoted(folder),
        job_path=_quoted(str(order.job_path)),
        cron=_quoted(_cron(order.schedule)),
        zone=_quoted(order.schedule.zone.key),
        deadline_s=_deadline_s(order),
        image=_quoted(image),
    )


def _quoted(text: str) -> str:
    """A JSON text is a YAML text too, quoted as it has to be; but YAML knows no surrogates in pairs."""
    return json.dumps(text, ensure_ascii=False)


def _cron(schedule: Schedule) -> str:
    """The expression as Kubernetes reads it: Sunday is 0 there, never 7."""
    fields = fields_of(schedule)
    if fields is None:
        raise ConfigError(
            f'schedule "{schedule.cron}": Kubernetes knows no last day or n-th weekday of a month',
            hint="let `batchexport schedule run` start it",
        )
    *others, weekdays = schedule.cron.split()
    if "7" in weekdays:
        weekdays = ",".join(map(str, sorted(fields.weekdays)))
    return " ".join([*others, weekdays])


def _deadline_s(order: StartOrder) -> int:
    """How late a start may come: to the end of the window, as the wall clock has it."""
    window = order.window
    if window is None:
        return _LATEST_START_S
    minutes = (window.closes_min - window.opens_min) % 1440 or 1440
    return minutes * 60
