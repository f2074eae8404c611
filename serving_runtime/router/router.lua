-- What is decided on the path of a request: which version answers whom.
local cjson = require "cjson.safe"
local affinity = require "affinity"
local answer = require "answer"
local assignment = require "assignment"
local attempts = require "attempts"
local body = require "body"
local endpoints = require "endpoints"
local errors = require "errors"
local keys = require "keys"
local metrics = require "metrics"
local records = require "records"
local request = require "request"
local routes = require "routes"
local scored = require "scored"
local shadow = require "shadow"
local surface = require "surface"
local tasks = require "tasks"
local upstream = require "upstream"
local waking = require "waking"

local router = {}
local MODELS = "/v1/models/"
local NO_BACKENDS = '{"backends":{}}'
local refuse = errors.refuse
local PATIENCE = 10 -- seconds
local backends_file, most_at_once
local began, has_settled = 0, false
local handed = {} -- by its exposure, what is known of a request that goes on in another location
router.trust = upstream.trust

function router.start(path, folder, backend_keys, most_at_backend)
  most_at_once, began = most_at_backend, ngx.now()
  routes.start(path)
  endpoints.start((path:gsub("[^/]+$", "endpoints.json")))
  backends_file = path:gsub("[^/]+$", "backends.json")
  upstream.start(backend_keys)
  metrics.start()
  records.start(folder)
end

function router.finish()
  records.finish()
  metrics.finish()
end

-- The route of a model name such as "spam-filter" or "spam-filter@3", and what stands behind `@`; nil and a sentence
-- where none is.
local function route_of(name)
  local model, reference = name:match("^([^@]+)@(.+)$")
  local route = routes.models[model or name]
  if not route then return nil, "there is no model `" .. name .. "` here; GET /v1/models lists them" end
  if reference and not route.named[reference] then
    return nil, "no served version of `" .. model .. "` is called `" .. reference .. "`"
  end
  return route, reference
end

-- The variant's version, for a request of the experiment's; nil, a status, a sentence and the header that it is about where
-- a tester asks for none. Who does not take part yet is recorded as outside of it; a tester without their name, so that
-- they count nowhere.
local function version_in(split, user, path, seen)
  local is_tester, chosen, sentence, header = assignment.tester(split, user)
  if sentence then return nil, 400, sentence, header end
  local variant, takes_part = assignment.variant(split, user)
  if is_tester then
    variant, takes_part, user, seen.tester = chosen or variant, true, nil, true
  end
  if path.counts then seen.user, seen.experiment = user, takes_part and split or nil end
  seen.variant = variant.name
  if split.shadow and path.counts then shadow.sample(split, seen) end
  if split.scores and seen.experiment and user then scored.sample(split, seen) end
  seen.spare = assignment.spare_of(split, variant)
  return variant.target
end

-- The version that answers; nil, a status, a sentence, and the header or field that it is about, where none does.
local function version_of(name, path, seen, found)
  if path.is_ours then return name end
  local route, reference = route_of(name)
  if not route then return nil, 404, reference end
  seen.model = name
  if reference then return route.named[reference] end
  local splits = route.splits
  local user, sentence, key = assignment.user(splits and splits[1].keys or assignment.OUTSIDE, found)
  if sentence then return nil, 400, sentence, key end
  local split = splits and assignment.owner(splits, user)
  if split then return version_in(split, user, path, seen) end
  if route.default == cjson.null then
    return nil, 404, "no version of `" .. name .. "` answers yet; `kubectl get modelversions` shows why"
  end
  if path.counts then seen.user = user end
  seen.spare = route.spare
  return route.default
end

-- The name of the model that is asked for, and what was found in the body.
local function asked_model(path)
  local found, sentence, key = request.keys(routes.names_in_body and path.naming or path.wanted, surface.opened)
  if not found then return refuse(400, "the body is no JSON object as it should be: " .. sentence, key) end
  local field, why = surface.refused(path, found)
  if field then return refuse(400, why, field) end
  local value = found.model
  local name = value and value.text and body.value(value.text)
  if type(name) ~= "string" then return refuse(400, "`model` must name a model; GET /v1/models lists them", "model") end
  return name, found
end

-- What is written into the body: the name by which the engine knows the model, and that a stream's tokens be counted.
local function edits_of(path, seen, found, name, asked)
  local edits = path.asks_usage and request.for_usage(found) or nil
  seen.withholds = edits ~= nil
  if asked == name then return edits end
  edits = edits or {}
  edits[#edits + 1] = { first = found.model.first, last = found.model.last, text = cjson.encode(asked) }
  return edits
end

-- The same as attempts.prepare, of a version without a pod, once it has one; where it has none, the client is told so.
local function prepare_woken(seen, version, name)
  local expected = routes.targets[version].wakes_after
  if type(expected) ~= "number" then return refuse(503, "no pod of `" .. version .. "` is ready; try again", "model") end
  seen.version = version
  metrics.begin(seen)
  local seconds = waking.await(version, expected)
  if not seconds and routes.targets[version] then
    local answering, target, asked = attempts.prepare(seen, routes.targets, version, nil, name)
    if answering then return answering, target, asked end
  end
  ngx.header["Retry-After"] = seconds
  local again = "no pod of `" .. version .. "` is ready, and one is being started; try again"
  return refuse(503, again .. (seconds and " in " .. seconds .. " s" or ""), "model")
end

function router.route()
  local uri = ngx.var.uri
  local path = surface.paths[uri]
  local seen = { kind = path.kind, exposure = ngx.var.request_id } -- kept: each look at the variable makes a new one
  seen.is_part = not path.counts and tasks.asks()
  ngx.ctx.answer = seen
  if path.is_ours and not seen.is_part then return router.refuse_path() end
  if ngx.req.get_method() ~= "POST" then return router.refuse_method("POST") end
  if not routes.models then return refuse(503, "the router has no routes yet; try again") end
  ngx.req.read_body()
  local name, found = asked_model(path)
  local version, status, sentence, param = version_of(name, path, seen, found)
  if not routes.targets[version] then
    return refuse(status or 404, sentence or "this version is not served", param or "model")
  end
  local answering, target, asked = attempts.prepare(seen, routes.targets, version, seen.spare, name)
  if not answering then answering, target, asked = prepare_woken(seen, version, name) end
  local to, why_not, said = nil, nil, nil
  if attempts.is_backend(target) then
    if attempts.under_way(seen) >= most_at_once then
      return refuse(503, "too many requests wait for the backend of `" .. answering .. "`; try again", "model")
    end
    to, why_not, said = upstream.of(answering, target.backend, path.asked_at or uri)
    if not to then return refuse(why_not, said, "model") end
  end
  local text = path.text and found[path.text]
  if text and attempts.is_choice(seen) then seen.hash = affinity.hash(text, name) end
  local edits = edits_of(path, seen, found, name, asked)
  if edits then request.edit(edits) end
  seen.version, ngx.ctx.target = answering, target
  if not seen.in_flight then metrics.begin(seen) end
  ngx.var.exposure_id, ngx.var.engine_key = seen.exposure, keys.engine
  if to then upstream.ask(to) end
  ngx.req.set_uri(to and to.uri or path.asked_at or uri) -- as it was understood, not as it was written
  ngx.req.set_uri_args("")
  if to and to.trusted then
    handed[seen.exposure] = ngx.ctx -- which nginx takes from a request that goes elsewhere
    return ngx.exec("@" .. to.trusted)
  end
end

-- A request comes that is to be asked as its location says (authorities.py).
function router.go_on()
  local exposure = ngx.var.exposure_id
  ngx.ctx, handed[exposure] = handed[exposure], nil
end

function router.balance()
  attempts.balance(ngx.ctx.answer)
end

function router.head()
  errors.head()
  local seen = ngx.ctx.answer
  if not seen then return end
  answer.head()
  local version, _, is_fallback = attempts.owner(seen)
  ngx.header["X-Anneal-Version"] = version
  ngx.header["X-Anneal-Variant"] = seen.variant
  if is_fallback then ngx.header["X-Anneal-Fallback"] = "true" end
  ngx.header["X-Exposure-Id"] = seen.user and seen.exposure or nil
end

function router.body()
  answer.body()
  errors.body()
end

-- Also what was refused before the model was known, for being too large or too slow.
function router.record()
  local seen = ngx.ctx.answer
  if not seen then
    seen = { kind = surface.paths[ngx.var.uri].kind, exposure = ngx.var.request_id }
    ngx.ctx.answer = seen
  end
  if ngx.status == 0 then -- it was cut before its head, by the router's own end where that is near
    seen.is_cut = true
    ngx.status = ngx.worker.exiting() and 502 or 499
  end
  attempts.finish(seen)
  answer.finish()
  if seen.is_part then return metrics.over(seen) end
  metrics.answered(seen)
  records.add(answer.line())
  shadow.follow(seen)
  scored.follow(seen)
end

function router.tell_metrics()
  if ngx.req.get_method() ~= "GET" then return router.refuse_method("GET") end
  ngx.header["Content-Type"] = metrics.TYPE
  ngx.print(metrics.page())
end

function router.tell_requests()
  local under_way, asked_ago = metrics.under_way(), waking.asked_ago(metrics.asked_ago())
  ngx.say(cjson.encode({ under_way = under_way, asked_seconds_ago = asked_ago, recorder_lag_seconds = records.lag() }))
end

-- How the agent found the backends.
function router.tell_backends()
  local file = io.open(backends_file)
  ngx.say(file and file:read("*a") or NO_BACKENDS)
  if file then file:close() end
end

-- One that begins takes requests once it knows where to send them; but a backend that is nowhere keeps it for a while
-- alone, and not at all once it has begun.
local function has_begun()
  has_settled = has_settled or ngx.now() >= began + PATIENCE or endpoints.have_backends(routes.targets)
  return has_settled
end

function router.health()
  if not routes.models then return refuse(503, "the router has no routes yet") end
  if not has_begun() then return refuse(503, "the router does not know yet where its backends are") end
  ngx.say('{"status": "ok"}')
end

function router.refuse_method(allowed)
  ngx.header["Allow"] = allowed
  return refuse(405, "use " .. allowed)
end

-- Seconds since 1970 of a moment such as "2026-03-01T12:00:00Z"; nil of what is none.
local function seconds_of(moment)
  local year, month, day, hour, minute, second = moment:match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  if not year then return nil end
  local told = { year = year, month = month, day = day, hour = hour, min = minute, sec = second, isdst = false }
  return os.time(told) - (os.time(os.date("!*t", 86400)) - 86400)
end

-- Clients want to know when it was created: the table's beginning is what all routers of a namespace agree on.
local function listed(name)
  return { id = name, object = "model", created = seconds_of(routes.lineage), owned_by = "anneal" }
end

function router.list_models()
  if ngx.req.get_method() ~= "GET" then return router.refuse_method("GET") end
  local data = {}
  for name in pairs(routes.models or {}) do data[#data + 1] = listed(name) end
  table.sort(data, function(a, b) return a.id < b.id end)
  ngx.say(#data == 0 and '{"object":"list","data":[]}' or cjson.encode({ object = "list", data = data }))
end

function router.tell_model()
  if ngx.req.get_method() ~= "GET" then return router.refuse_method("GET") end
  if not routes.models then return refuse(503, "the router has no routes yet; try again") end
  local name = ngx.var.uri:sub(#MODELS + 1)
  local route, sentence = route_of(name)
  if not route then return refuse(404, sentence, "model") end
  ngx.say(cjson.encode(listed(name)))
end

function router.refuse_stored_response()
  return refuse(404, "responses are not kept here: there is nothing to get, to delete or to cancel; POST /v1/responses")
end

function router.refuse_path()
  return refuse(404, "there is nothing at this path; models are asked at /v1/chat/completions, /v1/completions, "
    .. "/v1/responses, /v1/embeddings, /tokenize and /detokenize, and listed at /v1/models")
end

-- What is not for clients takes the operator's key; metrics are for whoever may come to this port.
function router.admit()
  if ngx.var.uri == "/metrics" or keys.is_admin(ngx.var.http_authorization) then return end
  ngx.header["WWW-Authenticate"] = "Bearer"
  return refuse(401, "this is for the operator alone, who has the key `adminKey` of the Secret `anneal-router`")
end

function router.tell_routes()
  local told = routes.told()
  if not told then return refuse(503, "the router has no routes yet") end
  ngx.say(told)
end

return router
