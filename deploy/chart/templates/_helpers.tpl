{{/* Labels of everything. Names are fixed: cloud identities are bound to them, and a namespace holds one platform. */}}
{{- define "stilt.labels" -}}
app.kubernetes.io/name: stilt-dagster
app.kubernetes.io/part-of: stilt
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* What `store.url` is made of: scheme and bucket. */}}
{{- define "stilt.scheme" -}}{{ regexFind "^[a-z0-9]+" .Values.store.url }}{{- end }}
{{- define "stilt.bucket" -}}{{ index (splitList "/" (trimPrefix (printf "%s://" (include "stilt.scheme" .)) .Values.store.url)) 0 }}{{- end }}

{{/* Compute logs, beside the store, by Dagster's own manager for what it is. */}}
{{- define "stilt.computeLogs" -}}
{{- $bucket := dict "prefix" "compute-logs" "upload_interval" 60 "show_url_only" false }}
{{- $env := dict "env" "STILT_BUCKET" }}
{{- $scheme := include "stilt.scheme" . }}
{{- if eq $scheme "gs" }}
{{- dict "module" "dagster_gcp.gcs.compute_log_manager" "class" "GCSComputeLogManager"
  "config" (merge (dict "bucket" $env) $bucket) | toYaml }}
{{- else if eq $scheme "s3" }}
{{- dict "module" "dagster_aws.s3.compute_log_manager" "class" "S3ComputeLogManager"
  "config" (merge (dict "bucket" $env) $bucket) | toYaml }}
{{- else if eq $scheme "az" }}
{{- dict "module" "dagster_azure.blob.compute_log_manager" "class" "AzureBlobComputeLogManager"
  "config" (merge (dict "container" $env "storage_account" (dict "env" "AZURE_STORAGE_ACCOUNT_NAME")) $bucket) | toYaml }}
{{- else }}
{{- dict "module" "dagster._core.storage.local_compute_log_manager" "class" "LocalComputeLogManager"
  "config" (dict "base_dir" "/volume/compute-logs") | toYaml }}
{{- end }}
{{- end }}

{{/* chart/dagster.yaml with what the values say of run pods and of logs, and .Values.instance in it. */}}
{{- define "stilt.instance" -}}
{{- $instance := .Files.Get "dagster.yaml" | fromYaml }}
{{- $launcher := $instance.run_launcher.config }}
{{- $run := $launcher.run_k8s_config }}
{{- with .Values.accounts.run.podLabels }}{{ $_ := set $run.pod_template_spec_metadata "labels" . }}{{ end }}
{{- with .Values.store.secret }}{{ $_ := set $launcher "env_secrets" (append $launcher.env_secrets .) }}{{ end }}
{{- with .Values.store.claim }}
{{- $mount := dict "name" "volume" "mount_path" "/volume" }}
{{- $_ := set $run.container_config "volume_mounts" (append $run.container_config.volume_mounts $mount) }}
{{- $volume := dict "name" "volume" "persistent_volume_claim" (dict "claim_name" .) }}
{{- $_ := set $run.pod_spec_config "volumes" (append $run.pod_spec_config.volumes $volume) }}
{{- end }}
{{- if or .Values.spot.nodeSelector .Values.spot.tolerations }}
{{- $selector := merge (dict) .Values.spot.nodeSelector $run.pod_spec_config.node_selector }}
{{- $_ := set $launcher "spot" (dict "node_selector" $selector "tolerations" .Values.spot.tolerations) }}
{{- end }}
{{- if not .Values.instance.compute_logs }}{{ $_ := set $instance "compute_logs" (include "stilt.computeLogs" . | fromYaml) }}{{ end }}
{{- mustMergeOverwrite $instance .Values.instance | toYaml }}
{{- end }}

{{/* Environment of all pods, run pods too. */}}
{{- define "stilt.settings" -}}
{{- $made := dict
  "STILT_STORE" (.Values.store.url | default "/volume/store")
  "STILT_MET" .Values.meteorology
  "STILT_TRUSTED_HOSTS" (join "," .Values.trustedHosts)
  "STILT_CACHE_GB" "0"
  "STILT_AUTOMATION" (ternary "on" "off" .Values.automation)
  "STILT_IMAGE" .Values.images.worker
  "STILT_NAMESPACE" .Release.Namespace
  "STILT_MAX_CORES" (.Values.maxCores | toString)
  "DAGSTER_POSTGRES_HOST" (.Values.database.host | default "stilt-postgres")
  "DAGSTER_POSTGRES_PORT" (.Values.database.port | toString)
  "DAGSTER_POSTGRES_DB" .Values.database.name
  "DAGSTER_POSTGRES_USER" .Values.database.user
  "PGSSLMODE" (include "stilt.encryption" .)
}}
{{- if .Values.store.url }}{{ $_ := set $made "STILT_BUCKET" (include "stilt.bucket" .) }}{{ end }}
{{- if .Values.database.ca }}{{ $_ := set $made "PGSSLROOTCERT" "/etc/stilt/postgres/ca.pem" }}{{ end }}
{{- mustMergeOverwrite $made .Values.settings | toYaml }}
{{- end }}

{{/* How the database is spoken to: a certificate holds the name of its server, or none of its addresses. */}}
{{- define "stilt.encryption" -}}
{{- if .Values.database.inCluster.enabled -}}disable
{{- else if empty .Values.database.ca -}}require
{{- else if include "stilt.isAddress" .Values.database.host -}}verify-ca
{{- else -}}verify-full
{{- end }}
{{- end }}
{{- define "stilt.isAddress" -}}{{ regexFind "^[0-9]+(\\.[0-9]+){3}$" . }}{{- end }}

{{/* The pod of a component: dict "root" $ "name" "web" "args" (list) "token" bool "resources" dict, and where wanted
     "env" dict, "extra" (more of the container, as YAML), "account" and "restart". */}}
{{- define "stilt.pod" -}}
{{- $account := .account | default .name }}
{{- $store := ternary .root.Values.store dict (has .name (list "web" "code")) -}}
metadata:
  labels:
    {{- include "stilt.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    {{- with (get .root.Values.accounts $account).podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:  # a change of settings is a change of the pod
    stilt/settings: {{ print (include "stilt.settings" .root) (include "stilt.instance" .root) (.root.Files.Get "workspace.yaml") .root.Values.database | sha256sum }}
spec:
  serviceAccountName: stilt-{{ $account }}
  automountServiceAccountToken: {{ .token }}
  enableServiceLinks: false  # STILT_WEB_PORT and the like are no settings of ours
  priorityClassName: stilt-core
  restartPolicy: {{ .restart | default "Always" }}
  terminationGracePeriodSeconds: 60
  nodeSelector: {kubernetes.io/arch: amd64}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    {{- if $store.claim }}
    fsGroupChangePolicy: OnRootMismatch  # not file by file, at each start of a pod
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .name }}
      image: {{ .root.Values.images.web | quote }}
      imagePullPolicy: IfNotPresent
      args: {{ toJson .args }}
      envFrom:
        - configMapRef: {name: stilt-settings}
        - secretRef: {name: stilt-postgres}
        {{- with $store.secret }}
        - secretRef: {name: {{ . }}}
        {{- end }}
        {{- if eq .name "code" }}
        - secretRef: {name: stilt-alerts, optional: true}  # sensors are evaluated here
        {{- end }}
      env:
        - {name: DAGSTER_HOME, value: /opt/dagster/dagster_home}
        {{- range $name, $value := .env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- with .extra }}{{ . | nindent 6 }}{{ end }}
      resources: {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: instance, mountPath: /opt/dagster/dagster_home}
        - {name: workspace, mountPath: /etc/stilt/workspace}
        - {name: domains, mountPath: /etc/stilt/domains}
        - {name: postgres-ca, mountPath: /etc/stilt/postgres}
        - {name: scratch, mountPath: /scratch}
        {{- if $store.claim }}
        - {name: volume, mountPath: /volume}
        {{- end }}
  volumes:
    - {name: instance, configMap: {name: stilt-dagster-instance}}
    - {name: workspace, configMap: {name: stilt-workspace}}
    - {name: domains, configMap: {name: stilt-domains, optional: true}}
    - {name: postgres-ca, configMap: {name: stilt-postgres-ca, optional: true}}
    - {name: scratch, emptyDir: {}}
    {{- with $store.claim }}
    - {name: volume, persistentVolumeClaim: {claimName: {{ . }}}}
    {{- end }}
{{- end }}
