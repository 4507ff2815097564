"""A run launcher whose pods fit what they run."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id, get_user_defined_k8s_config
from kubernetes.client import ApiException, V1PodStatus
from urllib3.exceptions import HTTPError

from stilt_dagster.kubernetes.dagster_internals import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from stilt_dagster.kubernetes.pod_sizes import resources
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG, SCENE_TAG, coverage, size_of_run

_LOG = logging.getLogger("stilt_dagster.kubernetes")


class LaunchError(Exception):
    """A run cannot be launched: says in one line why, and what to do."""


#: Assets whose runs may end at any moment and go on elsewhere: everything they finish is kept batch by batch.
SPOT_ASSETS = frozenset({"trajectories", "footprints"})


class AssetPodLauncher(K8sRunLauncher):
    """Launches each run in a pod of its own, sized for its asset and scene, however the run was started.

    Dagster's own launcher sizes a pod from its settings and the run's tags, and an asset's ``dagster-k8s/config`` is
    not among these. This one adds the size by :mod:`stilt_dagster.kubernetes.pod_sizes`, labels to select by, and
    the node pool: settings of ``run_k8s_config`` hold for every pod, those of the run's own tags win.

    Parameters
    ----------
    spot : dict, optional
        Pod spec of runs that may be interrupted, such as ``node_selector`` and ``tolerations`` of a spot pool.
    **settings
        Of ``K8sRunLauncher``.
    """

    def __init__(self, spot: dict[str, Any] | None = None, **settings: Any) -> None:
        self._spot = spot or {}
        super().__init__(**settings)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the settings of ``K8sRunLauncher`` and this one's own."""
        own = dg.Field(dg.Permissive(), is_required=False, description="Pod spec of runs that may be interrupted.")
        return {**super().config_type(), "spot": own}

    @property
    def spot(self) -> dict[str, Any]:
        """Pod spec of runs that may be interrupted."""
        return self._spot

    def get_container_context_for_run(self, dagster_run: dg.DagsterRun) -> K8sContainerContext:
        """Return the run's pod: of the settings, with the size and place of what it runs, then of its own tags."""
        covers = coverage(dagster_run)
        settings = K8sContainerContext.create_for_run(dagster_run, self, include_run_tags=False)
        size = size_of_run(self._instance, dagster_run, covers)
        names = {SCENE_TAG: covers.scene, ASSET_TAG: "-".join(covers.assets)}
        # A label holds 63 characters, a scene id up to 100: the tail, with its time, tells scenes apart.
        labels = {name: value[-63:].strip("-._") for name, value in names.items() if value}
        interruptible = bool(covers.assets) and SPOT_ASSETS.issuperset(covers.assets)
        fitted = K8sContainerContext(
            run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(
                {
                    "container_config": {"resources": resources(size)},
                    "pod_template_spec_metadata": {"labels": labels},
                    "job_metadata": {"labels": labels},
                    **({"pod_spec_config": self._spot} if interruptible and self._spot else {}),
                }
            )
        )
        own = K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(dagster_run.tags))
        own = own.validate_user_k8s_config_for_run(
            self.only_allow_user_defined_k8s_config_fields, self.only_allow_user_defined_env_vars
        )
        return settings.merge(fitted).merge(own)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run.

        Raises
        ------
        LaunchError
            One line: what the cluster refused, and what to do.
        """
        try:
            super().launch_run(context)
        except (DagsterK8sAPIRetryLimitExceeded, DagsterK8sUnrecoverableAPIError) as error:
            raise LaunchError(self._refusal(error)) from None

    def _refusal(self, error: Exception) -> str:
        cause = error.__cause__ or error
        namespace = self.job_namespace
        if isinstance(cause, ApiException):
            what = " ".join((cause.body or cause.reason or "").split())[:300]
            if cause.status == 403 and "quota" in what:
                return f"namespace {namespace} is out of quota for Jobs: {what}"
            if cause.status in (401, 403):
                return (
                    f"the daemon may not create Jobs in namespace {namespace}: bind its service account to a Role that "
                    f"may (jobs, pods, pods/log, events): {what}"
                )
            if cause.status == 404:
                return f"namespace {namespace} does not exist: create it, or set job_namespace of the run launcher"
            return f"Kubernetes refused the run's Job ({cause.status}): {what}"
        return f"the Kubernetes API cannot be reached ({type(cause).__name__}): the run is not started; launch it again"

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return how a run's pod is; while the API server does not answer, as before.

        Dagster's launcher says "unknown" then, on which the monitor fails every run and starts each a second time
        beside its pod, which goes on.
        """
        name, namespace = get_job_name_from_run_id(run.run_id), self.job_namespace
        try:
            status = self._api_client.batch_api.read_namespaced_job_status(name, namespace).status
        except ApiException as error:
            if error.status == 404:
                return CheckRunHealthResult(WorkerStatus.FAILED, f"Job {name} is gone: it was deleted")
            return self._unanswered(run, error)
        except HTTPError as error:
            return self._unanswered(run, error)
        if status.active or not (status.failed or status.succeeded):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # A run that is over is not asked about: its pod ended before it did.
        return CheckRunHealthResult(WorkerStatus.FAILED, "the pod ended before the run did")

    def _unanswered(self, run: dg.DagsterRun, error: Exception) -> CheckRunHealthResult:
        _LOG.warning("run %s: the Kubernetes API does not answer (%s); looking again", run.run_id, type(error).__name__)
        return CheckRunHealthResult(WorkerStatus.RUNNING, "the Kubernetes API does not answer")

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return why a run's pod did not do what it should: one line first, then what Kubernetes knows.

        Dagster asks when it gives a run up. One that never started is deleted, or its pod would hold its place in the
        quota, have a node made for it, and start a run that is over.
        """
        job = get_job_name_from_run_id(run.run_id)
        try:
            pods = self._api_client.get_pods_in_job(job, self.job_namespace)
            if not pods:  # Dagster's launcher cannot describe a Job that was never started
                return self._reason_for_no_pod(job)
            details = super().get_run_worker_debug_info(run, include_container_logs=include_container_logs)
            return "\n".join(text for text in (_pod_failure(pods[-1].status), details) if text)
        finally:
            if run.status is dg.DagsterRunStatus.STARTING:
                self._api_client.delete_job(job_name=job, namespace=self.job_namespace)

    def _reason_for_no_pod(self, job: str) -> str:
        """Return in one line why a Job has no pod."""
        events = self._api_client.core_api.list_namespaced_event(
            self.job_namespace, field_selector=f"involvedObject.name={job}"
        )
        failed = [event.message for event in events.items if event.type == "Warning"]
        return f"Kubernetes made no pod for Job {job}" + (f": {failed[-1]}" if failed else "")


def _pod_failure(status: V1PodStatus) -> str:
    """Return in one line what keeps or ended a pod; empty if nothing is known."""
    for condition in status.conditions or []:
        if condition.reason == "Unschedulable":
            return (
                f"No node has room for the pod: {condition.message}. Ask for less (run tags stilt/cpu, "
                "stilt/memory, stilt/ephemeral-storage), or enlarge the node pool"
            )
    if status.reason in ("Evicted", "NodeLost", "Preempting", "Shutdown", "Terminated", "NodeShutdown"):
        return f"The pod was taken away ({status.reason}): {status.message or 'its node went'}"
    for container in status.container_statuses or []:
        state = container.state
        if state.waiting and state.waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            message = state.waiting.message or ""
            return f"The pod's container cannot start ({state.waiting.reason}): {message or container.image}"
        if state.terminated and state.terminated.reason == "OOMKilled":
            return "The pod ran out of memory (OOMKilled): a retry gets half as much again; or set stilt/memory"
        if state.terminated and state.terminated.exit_code:
            return f"The pod ended with exit code {state.terminated.exit_code} ({state.terminated.reason})"
    return ""
