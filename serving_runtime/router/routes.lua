-- The route table: a file that the agent replaces; each worker looks at it four times a second, so weights change without
-- a reload. A table that this build does not know, or that is older than the one that holds, is refused. What each worker
-- has applied lies in a shared dictionary, so that any of them can tell what all have.
local cjson = require "cjson.safe"
local assignment = require "assignment"
local endpoints = require "endpoints"
local followed = require "followed"
local metrics = require "metrics"

local routes = {} -- `models`, `targets` and `lineage` of the table that holds; none of them before the first
routes.names_in_body = false -- whether a user may be
local PERIOD, PATIENCE = 0.25, 2 -- seconds
local PLAIN_FORMAT, FORMAT = 1, 2 -- terms.py says so, too
local applied
local waits_since -- when a table was found early

-- Tables come in the order of their generations; one of a ConfigMap that was begun anew comes after all of the old one.
local function is_older(one, other)
  if one.lineage ~= other.lineage then return one.lineage < other.lineage end
  return one.generation < other.generation
end

-- What is wrong with a table; nothing where it may be applied.
local function objection(table)
  if type(table) ~= "table" then return "the file of routes holds no table" end
  if table.format ~= PLAIN_FORMAT and table.format ~= FORMAT then
    return "the table's format is " .. tostring(table.format) .. ", and this build knows " .. PLAIN_FORMAT .. " and " .. FORMAT
  end
  for field, kind in pairs { models = "table", targets = "table", lineage = "string", generation = "number", digest = "string" } do
    if type(table[field]) ~= kind then return "the file of routes holds no table: it has no " .. field end
  end
  if applied and is_older(table, applied) then
    return "the table of generation " .. table.generation .. " is older than that of " .. applied.generation
  end
end

-- Whom it leads clients to who name no version.
local function led_to(models)
  local versions = {}
  for _, route in pairs(models) do
    if type(route.default) == "string" then versions[route.default] = true end
    for _, split in ipairs(route.splits or {}) do
      for _, variant in ipairs(split.variants) do versions[variant.target] = true end
    end
  end
  return versions
end

-- Whether it leads clients to a version of whose pods nothing was heard yet: the operator knows that one answers, and its
-- table may be here before the news of that. Meanwhile the last one holds, and the new one is not acknowledged.
local function is_early(table)
  if not applied then return false end
  local before = led_to(routes.models)
  for version in pairs(led_to(table.models)) do
    if not before[version] and not endpoints.has(version) then return true end
  end
  return false
end

-- Not for long: there may be none any more.
local function may_wait()
  local now = ngx.now()
  if not waits_since or now < waits_since then waits_since = now end
  return now < waits_since + PATIENCE
end

local function tell()
  local told = cjson.encode { lineage = applied.lineage, generation = applied.generation, digest = applied.digest }
  local done, problem = ngx.shared.applied:set(ngx.worker.id(), told)
  if not done then ngx.log(ngx.ERR, "what was applied cannot be told: ", problem) end
end

-- Take the experiments apart, once for all requests; whether a user may be named in the body.
local function prepare(models)
  local reads_body = false
  for _, route in pairs(models) do
    route.splits = assignment.splits(route)
    route.spare = assignment.spare(route)
    reads_body = reads_body or route.splits ~= nil and assignment.reads_body(route.splits)
  end
  return reads_body
end

local function apply(text)
  local found = cjson.decode(text)
  local problem = objection(found)
  if problem then
    ngx.log(ngx.ERR, problem, "; keeping the last one")
    return
  end
  local is_whole, reads_body = pcall(prepare, found.models)
  if not is_whole then
    ngx.log(ngx.ERR, "the file of routes holds no table: ", reads_body, "; keeping the last one")
    return
  end
  if is_early(found) and may_wait() then return followed.TOO_EARLY end
  waits_since = nil
  applied, routes.models, routes.targets, routes.lineage = found, found.models, found.targets, found.lineage
  routes.names_in_body = reads_body
  tell()
end

function routes.start(path)
  ngx.shared.applied:delete(ngx.worker.id()) -- what one before it had told, which this one may not be able to read
  followed.start(path, PERIOD, apply)
end

-- The oldest of what the workers have applied: that have all. Nothing while one has none. A worker that died is begun
-- anew in the same place, and applies the file before it answers anybody.
local function applied_by_all()
  local oldest
  for worker = 0, ngx.worker.count() - 1 do
    local told = ngx.shared.applied:get(worker)
    if not told then return nil end
    local found = cjson.decode(told)
    if not oldest or is_older(found, oldest) then oldest = found end
  end
  return oldest
end

metrics.show("routes_generation", "Of the route table that all workers have applied.", function()
  local all = applied_by_all()
  return all and all.generation
end)

-- What the operator asks to know whether its last table has arrived. Not by what users are assigned: who knew it could
-- choose a variant.
function routes.told()
  local all = applied_by_all()
  if not all then return nil end
  local models = {}
  for name, route in pairs(routes.models) do
    local experiments = {}
    for i, split in ipairs(route.splits or {}) do experiments[i] = split.uid end
    models[name] = { default = route.default, named = route.named, experiments = experiments[1] and experiments }
  end
  return cjson.encode {
    format = FORMAT, lineage = all.lineage, generation = all.generation, digest = all.digest, models = models,
  }
end

return routes
