-- The task API (serving_runtime/tasks) before which this router stands: its paths go on to it, and it asks here for its
-- answers as any client does. Models answer whether it does or not.
local cjson = require "cjson.safe"
local endpoints = require "endpoints"
local errors = require "errors"
local keys = require "keys"
local routes = require "routes"
local service = require "service"

local tasks = {}
local RETRY_AFTER = 5
local api = service.new "the task API"

function tasks.start(path)
  api:follow(path)
end

function tasks.away()
  ngx.header["Retry-After"] = RETRY_AFTER
  return errors.refuse(503, "the task API takes nothing now; models answer at /v1/chat/completions, or try again")
end

-- Of a router that knows of none yet, whether it answers itself.
function tasks.ask_health()
  if not api.host then return ngx.exec("@own_health") end
end

function tasks.route()
  if not api.host then return tasks.away() end
end

function tasks.balance()
  api:balance()
end

-- Whether the request is the task API's own; a part of an answer, so it is counted with that alone.
function tasks.asks()
  return keys.is_tasks(ngx.var.http_x_anneal_tasks)
end

-- Why a version cannot answer now; nil where it can, as one that sleeps does.
local function obstacle(version)
  local target = routes.targets[version]
  if not target then return "it is not served" end
  if type(target.wakes_after) == "number" or #endpoints.of(version, target) > 0 then return nil end
  return "none of its pods is ready"
end

-- Which models there are, what their versions are called, and why the one cannot answer who names the model alone. Not by
-- what users are assigned: who knew it could choose a variant.
function tasks.tell_models()
  if not tasks.asks() then return errors.refuse(401, "this is for the task API alone; GET /v1/models lists the models") end
  if not routes.models then return errors.refuse(503, "the router has no routes yet; try again") end
  local models = {}
  for name, route in pairs(routes.models) do
    local default = route.default ~= cjson.null and route.default or nil
    local problem = default and obstacle(default)
    if not default then problem = "no version answers yet" end
    models[name] = { default = default, named = next(route.named) and route.named, problem = problem }
  end
  ngx.say(next(models) and cjson.encode { models = models } or '{"models":{}}')
end

return tasks
