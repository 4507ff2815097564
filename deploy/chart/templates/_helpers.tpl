{{/* Labels of everything. Names are fixed: cloud identities are bound to them, and a namespace holds one platform. */}}
{{- define "stilt.labels" -}}
app.kubernetes.io/name: stilt-dagster
app.kubernetes.io/part-of: stilt
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* chart/dagster.yaml with .Values.instance in it. */}}
{{- define "stilt.instance" -}}
{{- mustMergeOverwrite (.Files.Get "dagster.yaml" | fromYaml) .Values.instance | toYaml }}
{{- end }}

{{/* Environment of all pods, run pods too. */}}
{{- define "stilt.settings" -}}
{{- $made := dict
  "STILT_STORE" (printf "gs://%s/%s" .Values.store.bucket .Values.store.prefix)
  "STILT_BUCKET" .Values.store.bucket
  "STILT_MET" .Values.meteorology
  "STILT_TRUSTED_HOSTS" (join "," .Values.trustedHosts)
  "STILT_CACHE_GB" "0"
  "STILT_AUTOMATION" (ternary "on" "off" .Values.automation)
  "STILT_IMAGE" .Values.images.worker
  "STILT_NAMESPACE" .Release.Namespace
  "STILT_MAX_CORES" (.Values.maxCores | toString)
  "DAGSTER_POSTGRES_HOST" .Values.database.host
  "DAGSTER_POSTGRES_PORT" (.Values.database.port | toString)
  "DAGSTER_POSTGRES_DB" .Values.database.name
  "DAGSTER_POSTGRES_USER" .Values.database.user
  "PGSSLMODE" (ternary "verify-ca" "require" (not (empty .Values.database.ca)))
}}
{{- if .Values.database.ca }}{{ $_ := set $made "PGSSLROOTCERT" "/etc/stilt/postgres/ca.pem" }}{{ end }}
{{- mustMergeOverwrite $made .Values.settings | toYaml }}
{{- end }}

{{/* The pod of a component: dict "root" $ "name" "web" "args" (list) "token" bool "resources" dict, and where wanted
     "env" dict, "extra" (more of the container, as YAML), "account" and "restart". */}}
{{- define "stilt.pod" -}}
metadata:
  labels:
    {{- include "stilt.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
  annotations:  # a change of settings is a change of the pod
    stilt/settings: {{ print (include "stilt.settings" .root) (include "stilt.instance" .root) (.root.Files.Get "workspace.yaml") .root.Values.database | sha256sum }}
spec:
  serviceAccountName: stilt-{{ .account | default .name }}
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
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .name }}
      image: {{ .root.Values.images.web | quote }}
      imagePullPolicy: IfNotPresent
      args: {{ toJson .args }}
      envFrom:
        - configMapRef: {name: stilt-settings}
        - secretRef: {name: stilt-postgres}
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
  volumes:
    - {name: instance, configMap: {name: stilt-dagster-instance}}
    - {name: workspace, configMap: {name: stilt-workspace}}
    - {name: domains, configMap: {name: stilt-domains, optional: true}}
    - {name: postgres-ca, configMap: {name: stilt-postgres-ca, optional: true}}
    - {name: scratch, emptyDir: {}}
{{- end }}
