"""A Kubernetes CronJob."""

from __future__ import annotations

import json

from batchexport.errors import ConfigError
from batchexport.scheduling.cron import Schedule, fields_of
from batchexport.scheduling.unit_spec import UnitSpec

#: Without a window, a start may be this late.
_LATEST_START_S = 3600

#: How long a drain may take: as long as a response, or as the copy of the largest volume.
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
      # A crashed pod is restarted and resumes the run; one that exited on purpose is not. 75: the window
      # closed with work left; Kubernetes shows the job as failed, and the next start resumes it. 4 is not
      # listed: the lease of a killed pod outlives it by 30 s.
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
            runAsNonRoot: true
            # The group of the image that the Dockerfile of batchexport builds.
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
                readOnlyRootFilesystem: true
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
                - name: tmp
                  mountPath: /tmp
          volumes:
            - name: jobs
              persistentVolumeClaim:
                claimName: {claim}
            - name: clouds
              secret:
                secretName: {secret}
            - name: tmp
              emptyDir: {{}}
"""


def cron_job(spec: UnitSpec, *, image: str) -> str:
    """The manifest, in YAML. `image` is a container image whose entry point is batchexport.

    Raises ConfigError for a schedule that Kubernetes cannot keep.
    """
    folder = str(spec.job_path.parent)
    return _MANIFEST.format(
        mark=spec.mark,
        grace_s=_GRACE_WITH_SERVERS_S if spec.stops_servers else _GRACE_S,
        name=spec.name,
        claim=spec.name,
        secret="openstack-clouds",
        job=spec.job_path.name,
        folder=folder,
        folder_json=_quoted(folder),
        job_path=_quoted(str(spec.job_path)),
        cron=_quoted(_cron(spec.schedule)),
        zone=_quoted(spec.schedule.zone.key),
        deadline_s=_deadline_s(spec),
        image=_quoted(image),
    )


def _quoted(text: str) -> str:
    """JSON strings are valid, quoted YAML, except for surrogate pairs, which YAML does not know."""
    return json.dumps(text, ensure_ascii=False)


def _cron(schedule: Schedule) -> str:
    """The expression as Kubernetes reads it: Sunday is 0 there, never 7."""
    fields = fields_of(schedule)
    if fields is None:
        raise ConfigError(
            f'schedule "{schedule.cron}": Kubernetes supports no last day or n-th weekday of a month',
            hint="let `batchexport schedule run` start it",
        )
    *others, weekdays = schedule.cron.split()
    if "7" in weekdays:
        weekdays = ",".join(map(str, sorted(fields.weekdays)))
    return " ".join([*others, weekdays])


def _deadline_s(spec: UnitSpec) -> int:
    """How late a start may be, in seconds: until the window closes on the wall clock."""
    window = spec.window
    if window is None:
        return _LATEST_START_S
    minutes = (window.closes_min - window.opens_min) % 1440 or 1440
    return minutes * 60
