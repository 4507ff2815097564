"""What a pod's container is to run, as a local process: arguments, environment, and directories for its volumes.

A process has no mounts. A volume is a directory of the pod's own, and wherever a word of the command, an argument, the
value of a variable or the working directory is a mount path, or begins with one and a slash, the directory stands in
its place. A path that a program has of itself, or that is inside a word (``--file=/mnt/x``), is not seen.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.utils.quantity import parse_quantity

#: Gives the object of a kind (``Secret``, ``ConfigMap``, a volume or a claim of one), namespace and name, or None.
Reader = Callable[[str, str, str], dict[str, Any] | None]


class NotYet(Exception):
    """The container cannot be made now; the message is the kubelet's, and so is the reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Command:
    """A local process, and the command of its start-up probe: none if it has none that runs a command."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    start_up: list[str]


class Resolver:
    """Turns one pod's container into a command.

    Parameters
    ----------
    pod : dict
        The pod, as the API gives it.
    directory : Path
        The pod's own.
    read : Reader
        Reads the API's objects.
    base : mapping
        Variables an image would bring.
    """

    def __init__(self, pod: dict[str, Any], directory: Path, read: Reader, base: Mapping[str, str]) -> None:
        self._pod = pod
        self._container = pod["spec"]["containers"][0]
        self._directory = directory
        self._read = read
        self._base = base

    def command(self) -> Command:
        """Make the volumes and return the command.

        Raises
        ------
        NotYet
            If something it names is missing, or is of a kind that is not played here.
        """
        if len(self._pod["spec"]["containers"]) > 1 or self._pod["spec"].get("initContainers"):
            raise NotYet("CreateContainerError", "a process node runs pods of one container")
        mounts = self._mounts()
        # What an image brings is of this machine already.
        env = {k: v if self._base.get(k) == v else _localise(v, mounts) for k, v in self._env().items()}
        words = [*(self._container.get("command") or []), *(self._container.get("args") or [])]
        cwd = self._directory / "work"
        cwd.mkdir(parents=True, exist_ok=True)
        if given := self._container.get("workingDir"):
            place = Path(_localise(given, mounts))
            cwd = place if place.is_dir() else cwd
        probe = ((self._container.get("startupProbe") or {}).get("exec") or {}).get("command") or []
        argv, start_up = ([_localise(_expand(word, env), mounts) for word in words] for words in (words, probe))
        return Command(argv, env, cwd, start_up)

    def _env(self) -> dict[str, str]:
        env = {**self._base, "HOSTNAME": self._pod["metadata"]["name"]}
        for source in self._container.get("envFrom") or []:
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if reference := source.get(field):
                    data = self._data(kind, reference["name"], reference.get("optional", False)) or {}
                    env |= {source.get("prefix", "") + key: value.decode() for key, value in data.items()}
        for variable in self._container.get("env") or []:
            source = variable.get("valueFrom")
            value = self._from(source) if source else _expand(variable.get("value") or "", env)
            if value is not None:
                env[variable["name"]] = value
        return env

    def _from(self, source: dict[str, Any]) -> str | None:
        """Return what a ``valueFrom`` names; None for what is optional and missing."""
        for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if reference := source.get(field):
                optional = reference.get("optional", False)
                data = self._data(kind, reference["name"], optional)
                if data is None or reference["key"] not in data:
                    if optional:
                        return None
                    where = f"{kind} {self._namespace}/{reference['name']}"
                    raise NotYet("CreateContainerConfigError", f"couldn't find key {reference['key']} in {where}")
                return data[reference["key"]].decode()
        if reference := source.get("fieldRef"):
            return self._field(reference["fieldPath"])
        reference = source["resourceFieldRef"]
        where, _, resource = reference["resource"].partition(".")
        given = (self._container.get("resources") or {}).get(where, {}).get(resource, "0")
        divisor = parse_quantity(reference.get("divisor") or "1") or 1
        return str(math.ceil(parse_quantity(given) / divisor))

    def _field(self, path: str) -> str:
        known = {"status.podIP": "127.0.0.1", "status.hostIP": "127.0.0.1"}
        if path in known:
            return known[path]
        match = re.fullmatch(r"(.*?)(?:\['(.*)'\])?", path)
        assert match
        value: Any = self._pod
        for part in match[1].split("."):
            value = value.get(part) or {}
        if match[2] is not None:
            value = value.get(match[2])
        return str(value or "")

    def _mounts(self) -> dict[str, str]:
        volumes = {volume["name"]: self._volume(volume) for volume in self._pod["spec"].get("volumes") or []}
        return {
            mount["mountPath"].rstrip("/"): str(volumes[mount["name"]] / mount.get("subPath", ""))
            for mount in self._container.get("volumeMounts") or []
        }

    def _volume(self, volume: dict[str, Any]) -> Path:
        place: Path = self._directory / "volumes" / volume["name"]
        if host := volume.get("hostPath"):
            return Path(host["path"])
        if claim := volume.get("persistentVolumeClaim"):
            return self._claimed(claim["claimName"])
        place.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume:
            return place
        for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
            if source := volume.get(field):
                data = self._data(kind, source[name], source.get("optional", False), "ContainerCreating") or {}
                wanted = {item["key"]: item["path"] for item in source.get("items") or []} or {k: k for k in data}
                for key, path in wanted.items():
                    if key not in data:
                        raise NotYet(
                            "ContainerCreating", f"{kind.lower()} {source[name]} references non-existent key {key}"
                        )
                    (place / path).parent.mkdir(parents=True, exist_ok=True)
                    (place / path).write_bytes(data[key])
                return place
        kind = next(key for key in volume if key != "name")
        raise NotYet("ContainerCreating", f"a process node has no volumes of kind {kind}")

    def _claimed(self, name: str) -> Path:
        """Return the directory a claim is bound to."""
        claim = self._read("PersistentVolumeClaim", self._namespace, name)
        bound = claim and self._read("PersistentVolume", "", claim["spec"].get("volumeName") or "")
        if not bound or "hostPath" not in bound["spec"]:
            raise NotYet("ContainerCreating", f"claim {name} is bound to no directory of this machine")
        return Path(bound["spec"]["hostPath"]["path"])

    def _data(
        self, kind: str, name: str, optional: bool, reason: str = "CreateContainerConfigError"
    ) -> dict[str, bytes] | None:
        found = self._read(kind, self._namespace, name)
        if found is None:
            if optional:
                return None
            raise NotYet(reason, f'{kind.lower()} "{name}" not found')
        if kind == "Secret":
            return {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
        binary = {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
        return {k: v.encode() for k, v in (found.get("data") or {}).items()} | binary

    @property
    def _namespace(self) -> str:
        return str(self._pod["metadata"]["namespace"])


def _expand(text: str, env: Mapping[str, str]) -> str:
    """Put in ``$(NAME)``, as Kubernetes does; what is unknown stays, and ``$$`` is a dollar."""
    return re.sub(
        r"\$(\$|\(([A-Za-z_][A-Za-z0-9_.-]*)\))",
        lambda m: "$" if m[1] == "$" else env.get(m[2], m[0]),
        text,
    )


def _localise(text: str, mounts: Mapping[str, str]) -> str:
    """Put the directory in the place of a mount path."""
    for path in sorted(mounts, key=len, reverse=True):
        if text == path or text.startswith(path + "/"):
            return mounts[path] + text.removeprefix(path)
    return text
