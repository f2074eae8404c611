-- What Prometheus is told of answers, and of what else the router's parts count here.
local registry = require "registry"

local metrics = { TYPE = "text/plain; version=0.0.4; charset=utf-8" }
local WHO = { "model", "version", "variant", "endpoint" }
-- The buckets of OpenTelemetry's semantic conventions for generative AI: gen_ai.server.time_to_first_token,
-- .time_per_output_token and .request.duration.
local FIRST = { 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10 }
local EACH = { 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5 }
local WHOLE = { 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92 }
local add, observe, declare = registry.add, registry.observe, registry.declare
local groups, dropped = {}, 0

declare("requests_total", "counter", { "model", "version", "variant", "endpoint", "outcome", "code" },
  "Requests that ended, by outcome and by class of status.")
declare("requests_in_flight", "gauge", { "model", "version", "variant" }, "Requests that are being answered.")
declare("request_duration_seconds", "histogram", WHO, "From the request to the last of a complete answer.", WHOLE)
declare("time_to_first_token_seconds", "histogram", WHO, "From the request to a stream's first content.", FIRST)
declare("time_per_output_token_seconds", "histogram", WHO,
  "Between two tokens of a complete stream, after its first content, on average.", EACH)
declare("prompt_tokens_total", "counter", WHO, "Tokens of what was asked, where the server counts them.")
declare("completion_tokens_total", "counter", WHO,
  "Tokens of what was answered, or the chunks of a stream whose server does not count.")
declare("fallbacks_total", "counter", { "model", "version", "variant" },
  "Requests that the control answered, as no pod of their variant could.")
declare("ejections_total", "counter", { "version", "endpoint" }, "Times that a pod was asked no more for a while.")
declare("shadow_requests_total", "counter", { "model", "version", "variant", "outcome" },
  "Copies of requests that a challenger was sent, by what became of them.")
declare("scored_total", "counter", { "model" }, "Answers that were handed to the scorer.")
declare("scored_dropped_total", "counter", { "model", "reason" }, "Answers of the sample that were not handed to it.")
declare("shadow_dropped_total", "counter", { "model", "variant", "reason" },
  "Copies of requests that were not sent.")
declare("records_waiting", "gauge", {}, "Lines of answers that cannot be written yet.")
declare("records_dropped_total", "counter", {}, "Lines of answers that were lost, as too many waited.")

-- How many requests are under way, by version.
function metrics.under_way()
  return registry.totals("requests_in_flight", "version")
end

-- How many seconds ago each version was last asked, or answered, by version: what one has under way counts as well.
function metrics.asked_ago()
  return registry.ages("requests_in_flight", "version")
end

metrics.start, metrics.finish, metrics.page = registry.start, registry.finish, registry.page

-- Count one more, or `amount`; `labels` are by name.
function metrics.count(name, labels, amount)
  add(registry.series(name, labels), amount or 1)
end

-- Say what a gauge of this worker's is; all workers' are told as their sum.
function metrics.set(name, labels, value)
  registry.set(registry.series(name, labels), value)
end

-- A gauge that `read` tells when somebody asks: nothing where it returns nil.
function metrics.show(name, help, read)
  declare(name, "gauge", {}, help, nil, read)
end

local function child(parent, key)
  local found = parent[key]
  if not found then
    found = {}
    parent[key] = found
  end
  return found
end

-- The series of those that such an answer concerns, by metric; they are made as they are needed.
local function group_of(seen)
  if dropped ~= registry.dropped then groups, dropped = {}, registry.dropped end
  local ours = child(child(groups, seen.model or ""), seen.version or "")
  local group = child(child(ours, seen.variant or ""), seen.endpoint or "")
  if not group.labels then
    local model = (seen.model or ""):match("^[^@]*") -- which of its versions was meant, `version` says
    group.labels = { model = model, version = seen.version, variant = seen.variant, endpoint = seen.endpoint }
  end
  return group
end

local function of(group, name)
  local series = group[name]
  if not series then
    series = registry.series(name, group.labels)
    group[name] = series
  end
  return series
end

local function ended(group, outcome, status)
  local class = math.floor(status / 100)
  local by_class = child(child(group, "ended"), outcome)
  if not by_class[class] then
    local labels = setmetatable({ outcome = outcome, code = class .. "xx" }, { __index = group.labels })
    by_class[class] = registry.series("requests_total", labels)
  end
  return by_class[class]
end

-- An answer is awaited.
function metrics.begin(seen)
  seen.in_flight = of(group_of(seen), "requests_in_flight")
  add(seen.in_flight, 1)
end

-- It is awaited no more.
function metrics.over(seen)
  if seen.in_flight then add(seen.in_flight, -1) end
end

-- It is over; answer.finish has put together what became of it.
function metrics.answered(seen)
  metrics.over(seen)
  local group, is_complete = group_of(seen), seen.outcome == "complete"
  add(ended(group, seen.outcome, ngx.status), 1)
  if seen.fallback then add(of(group, "fallbacks_total"), 1) end
  if seen.prompt_tokens then add(of(group, "prompt_tokens_total"), seen.prompt_tokens) end
  if seen.completion_tokens then add(of(group, "completion_tokens_total"), seen.completion_tokens) end
  if is_complete and seen.to_last then observe(of(group, "request_duration_seconds"), seen.to_last) end
  if not seen.streams or not seen.to_first then return end
  observe(of(group, "time_to_first_token_seconds"), seen.to_first)
  local following = (seen.completion_tokens or 0) - 1
  if is_complete and following > 0 then
    observe(of(group, "time_per_output_token_seconds"), (seen.to_last - seen.to_first) / following)
  end
end

return metrics
