{{/* The labels of every object of the chart; called with a dictionary of `root` and `component`. */}}
{{- define "anneal.labels" -}}
app.kubernetes.io/name: anneal-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "anneal.selector" -}}
app.kubernetes.io/name: anneal-{{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "anneal.mlflowUrl" -}}
{{- .Values.mlflow.url | default (printf "http://anneal-mlflow.%s.svc:5000" .Release.Namespace) -}}
{{- end }}

{{- define "anneal.podSecurity" -}}
runAsNonRoot: true
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "anneal.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
