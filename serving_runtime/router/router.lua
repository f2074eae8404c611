-- What is decided on the path of a request: which version answers whom.
-- The route table is a file that the agent replaces; each worker looks at it four times a second, so weights change
-- without a reload. A user's bucket is computed as in serving_runtime/plan.py.
local cjson = require "cjson.safe"
local balancer = require "ngx.balancer"

local router = {}
local BUCKETS = 10000
local PERIOD = 0.25
local routes, content

local function load(path)
  local file = io.open(path)
  if not file then return end
  local text = file:read("*a")
  file:close()
  if text == content then return end
  local decoded = cjson.decode(text)
  if decoded then
    routes, content = decoded, text
  else
    ngx.log(ngx.ERR, "the route table is no JSON; keeping the last one")
  end
end

function router.start(path)
  load(path)
  ngx.timer.every(PERIOD, function(premature)
    if not premature then load(path) end
  end)
end

function router.refuse(status, message)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  local kind = status < 500 and "invalid_request_error" or "server_error"
  ngx.say(cjson.encode({ error = { message = message, type = kind, code = status } }))
  return ngx.exit(ngx.HTTP_OK)
end

local function body_text()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if text then return text end
  local path = ngx.req.get_body_file()
  local file = path and io.open(path)
  if not file then return "" end
  text = file:read("*a")
  file:close()
  return text
end

-- The position of the quote that ends the string which starts at `start`.
local function string_end(text, start)
  local position = start + 1
  while true do
    local found = text:find('[\\"]', position)
    if not found then return nil end
    if text:byte(found) == 34 then return found end
    position = found + 2
  end
end

-- Where the value of the top-level key "model" begins and ends. The body is replaced there and nowhere else:
-- decoding and encoding again would turn empty lists into objects and round large numbers.
local function model_span(text)
  local depth, position = 0, 1
  while true do
    local found = text:find('["{}%[%]]', position)
    if not found then return nil end
    local byte = text:byte(found)
    position = found + 1
    if byte == 34 then
      local last = string_end(text, found)
      if not last then return nil end
      position = last + 1
      if depth == 1 and text:sub(found, last) == '"model"' then
        local _, first = text:find('^%s*:%s*"', position)
        if first then return first, string_end(text, first) end
      end
    elseif byte == 123 or byte == 91 then
      depth = depth + 1
    else
      depth = depth - 1
    end
  end
end

local function user_of(experiment)
  local headers = ngx.req.get_headers()
  for _, name in ipairs(experiment.headers) do
    local value = headers[name]
    if type(value) == "table" then value = value[1] end
    if value and value ~= "" then return value end
  end
end

local function bucket_of(salt, user)
  local a, b, c, d = ngx.sha1_bin(salt .. ":" .. user):byte(1, 4)
  return (a * 16777216 + b * 65536 + c * 256 + d) % BUCKETS
end

-- The experiment's variant for this request, and the user; a request that names nobody gets the control.
local function assign(experiment)
  local user = user_of(experiment)
  local bucket = user and bucket_of(experiment.salt, user)
  for _, variant in ipairs(experiment.variants) do
    if bucket and bucket < variant.up_to or not bucket and variant.name == experiment.control then
      return variant, user
    end
  end
end

-- The target's name for a model name such as "spam-filter" or "spam-filter@3"; nil and a sentence where none is.
local function target_of(name)
  local model, reference = name:match("^([^@]+)@(.+)$")
  local route = routes.models[model or name]
  if not route then return nil, "there is no model `" .. name .. "` here; GET /v1/models lists them" end
  if reference then
    local target = route.named[reference]
    return target, not target and "no served version of `" .. model .. "` is called `" .. reference .. "`"
  end
  if type(route.experiment) == "table" then
    local variant, user = assign(route.experiment)
    ngx.ctx.variant, ngx.ctx.user, ngx.ctx.experiment = variant.name, user, route.experiment
    ngx.ctx.exposure = ngx.var.request_id -- kept: each look at the variable makes a new one
    return variant.target
  end
  if route.default == cjson.null then
    return nil, "no version of `" .. name .. "` answers yet; `kubectl get modelversions` shows why"
  end
  return route.default
end

function router.route()
  if ngx.req.get_method() ~= "POST" then return router.refuse(405, "use POST") end
  if not routes then return router.refuse(503, "the router has no routes yet; try again") end
  local text = body_text()
  local request, problem = cjson.decode(text)
  if type(request) ~= "table" then
    return router.refuse(400, "the body is no JSON object: " .. (problem or "another type"))
  end
  if type(request.model) ~= "string" then return router.refuse(400, "`model` must name a model; GET /v1/models lists them") end
  local name, sentence = target_of(request.model)
  local target = name and routes.targets[name]
  if not target then return router.refuse(404, sentence or "this version is not served") end
  local first, last = model_span(text)
  if not last then return router.refuse(400, "write the key `model` once, at the top level, without escapes") end
  ngx.req.set_header("Content-Type", "application/json") -- it was parsed as such; curl -d says something else
  ngx.req.set_body_data(text:sub(1, first) .. target.model .. text:sub(last))
  ngx.ctx.target, ngx.ctx.version = target, name
end

function router.balance()
  local target = ngx.ctx.target
  local done, problem = balancer.set_current_peer(target.host, target.port)
  if not done then ngx.log(ngx.ERR, "no connection to the engine: ", problem) end
end

function router.label()
  ngx.header["X-Anneal-Version"] = ngx.ctx.version
  ngx.header["X-Anneal-Variant"] = ngx.ctx.variant
  if ngx.ctx.user then ngx.header["X-Exposure-Id"] = ngx.ctx.exposure end
end

-- One line per answer to an enrolled user; the recorder reads the file. The user is stored as a hash only.
function router.record()
  local experiment, user = ngx.ctx.experiment, ngx.ctx.user
  if not user or not ngx.ctx.version then return end
  ngx.var.exposure = cjson.encode({
    exposure = ngx.ctx.exposure,
    experiment = experiment.uid,
    variant = ngx.ctx.variant,
    user = ngx.encode_base64(ngx.sha1_bin(experiment.uid .. ":" .. user)),
    at = ngx.req.start_time(),
    status = ngx.status,
  })
  ngx.var.exposure_file = os.date("!%Y%m%dT%H", ngx.time()) .. ".jsonl"
end

function router.health()
  if not routes then return router.refuse(503, "the router has no routes yet") end
  ngx.say('{"status": "ok"}')
end

function router.list_models()
  local data = {}
  for name in pairs(routes and routes.models or {}) do
    data[#data + 1] = { id = name, object = "model", owned_by = "anneal" }
  end
  table.sort(data, function(a, b) return a.id < b.id end)
  ngx.say(#data == 0 and '{"object":"list","data":[]}' or cjson.encode({ object = "list", data = data }))
end

-- What the operator asks to know whether its last table has arrived.
function router.tell_routes()
  if not routes then return router.refuse(503, "the router has no routes yet") end
  ngx.say(cjson.encode({ digest = routes.digest, models = routes.models }))
end

return router
