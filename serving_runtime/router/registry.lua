-- Metrics for Prometheus, of all workers together. A worker counts in its own memory, and once a second puts what has
-- changed into memory that all share: a request costs a few additions, and no lock.
--
-- Of each metric there are only so many series; where that many are, the one that has stood still longest goes, if that
-- was an hour, or what is new is counted as `other`.
local registry = { MOST_SERIES = 300, IDLE_SECONDS = 3600 }
registry.dropped = 0 -- grows when series that were found earlier are void
local PERIOD = 1 -- seconds
local PREFIX, SEPARATOR = "anneal_router_", "\n"
local OTHER = { model = "other", version = "other", variant = "other", endpoint = "other" }
local families, order = {}, {}
local shared, worker
local known, is_full = {}, false

-- Declare a metric; `buckets` of a histogram, `read` of a gauge that is told when somebody asks.
function registry.declare(name, kind, labels, help, buckets, read)
  families[name] = {
    name = PREFIX .. name, kind = kind, labels = labels, help = help, buckets = buckets, read = read,
  }
  order[#order + 1] = name
end

local function key_of(own, values)
  local texts = {}
  for i, name in ipairs(own.labels) do
    local value = tostring(values[name] or "")
    texts[i] = name .. '="' .. value:gsub('[\\"\n]', { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }) .. '"'
  end
  return own.name .. "{" .. table.concat(texts, ",") .. "}"
end

local function part_of(key, id)
  return key .. SEPARATOR .. id
end

local function drop(key)
  known[key], registry.dropped = nil, registry.dropped + 1
end

-- Whether another series of this metric has its place; the one that has stood still longest may leave its own for it.
local function has_room(name)
  local count, oldest, since = 0, nil, math.huge
  for _, key in ipairs(shared:get_keys(0)) do
    if key:sub(1, #name + 1) == name .. "{" and not key:find(SEPARATOR, 1, true) then
      local changed = shared:get(key) or 0
      count = count + 1
      if changed < since then oldest, since = key, changed end
    end
  end
  if count < registry.MOST_SERIES then return true end
  if since > ngx.now() - registry.IDLE_SECONDS then return false end
  shared:delete(oldest)
  for id = 0, ngx.worker.count() - 1 do shared:delete(part_of(oldest, id)) end
  drop(oldest)
  return true
end

-- What this worker had counted of a series before it died, or nothing; a gauge starts at 0.
local function values_of(own, key)
  local values = {}
  local text = own.kind ~= "gauge" and shared:get(part_of(key, worker))
  for value in (text or ""):gmatch("%S+") do values[#values + 1] = tonumber(value) end
  for i = #values + 1, own.buckets and #own.buckets + 2 or 1 do values[i] = 0 end
  return values
end

-- The series with such labels, or the one of all that have no place.
function registry.series(name, labels)
  local own = families[name]
  local key = key_of(own, labels)
  if known[key] then return known[key] end
  local _, born = shared:get(key)
  if not born and (is_full or not has_room(own.name)) then
    is_full = true
    key = key_of(own, setmetatable(OTHER, { __index = labels }))
    if known[key] then return known[key] end
    _, born = shared:get(key)
  end
  born = born or math.floor(ngx.now() * 1000) % 2 ^ 31
  shared:set(key, ngx.now(), 0, born)
  known[key] = { values = values_of(own, key), born = born, buckets = own.buckets, has_changed = true }
  return known[key]
end

function registry.add(series, amount)
  series.values[1], series.has_changed = series.values[1] + amount, true
end

function registry.set(series, value)
  series.values[1], series.has_changed = value, true
end

function registry.observe(series, value)
  local values, buckets, i = series.values, series.buckets, 1
  while buckets[i] and value > buckets[i] do i = i + 1 end
  values[i], values[#buckets + 2], series.has_changed = values[i] + 1, values[#buckets + 2] + value, true
end

-- Put what has changed where all workers see it, and forget what another worker has taken out: it had stood still.
local function publish()
  for key, series in pairs(known) do
    local _, born = shared:get(key)
    if born ~= series.born then
      drop(key)
    elseif series.has_changed then
      shared:set(key, ngx.now(), 0, born)
      shared:set(part_of(key, worker), table.concat(series.values, " "))
      series.has_changed = false
    end
  end
  if is_full then is_full, registry.dropped = false, registry.dropped + 1 end
end

-- A worker begins; what one that died in its place held at that moment is void.
function registry.start()
  shared, worker = ngx.shared.metrics, ngx.worker.id()
  for _, key in ipairs(shared:get_keys(0)) do
    local name, id = key:match("^" .. PREFIX .. "([%w_]+){.*}\n(%d+)$")
    if name and families[name].kind == "gauge" and id == tostring(worker) then shared:delete(key) end
  end
  ngx.timer.every(PERIOD, publish)
end

registry.finish = publish

-- The sums of all workers' values, by metric and labels; `[1]` and so on are its labels in order.
local function sums()
  local found = {}
  for _, part in ipairs(shared:get_keys(0)) do
    local name, labels = part:match("^([%w_]+){(.*)}\n%d+$")
    local text = name and shared:get(part)
    if text then
      local own = found[name] or {}
      found[name] = own
      if not own[labels] then own[#own + 1], own[labels] = labels, {} end
      local i = 0
      for value in text:gmatch("%S+") do
        i = i + 1
        own[labels][i] = (own[labels][i] or 0) + tonumber(value)
      end
    end
  end
  return found
end

-- The sums of a counter or gauge by the values of one of its labels.
function registry.totals(name, label)
  publish()
  local totals, own = {}, sums()[families[name].name] or {}
  for _, labels in ipairs(own) do
    local value = labels:match(label .. '="([^"\\]*)"')
    if value then totals[value] = (totals[value] or 0) + own[labels][1] end
  end
  return totals
end

-- How many seconds ago a metric last changed, by the values of one of its labels.
function registry.ages(name, label)
  publish()
  local ages, now, own = {}, ngx.now(), families[name].name .. "{"
  for _, key in ipairs(shared:get_keys(0)) do
    local is_whole = key:sub(1, #own) == own and not key:find(SEPARATOR, 1, true)
    local value = is_whole and key:match(label .. '="([^"\\]*)"')
    local changed = value and shared:get(key)
    if changed then ages[value] = math.min(ages[value] or math.huge, math.max(0, now - changed)) end
  end
  return ages
end

local function tell_histogram(page, own, labels, values)
  local count, start = 0, own.name .. "_bucket{" .. labels .. ',le="'
  for i = 1, #own.buckets + 1 do
    count = count + values[i]
    page[#page + 1] = start .. (own.buckets[i] or "+Inf") .. '"} ' .. count
  end
  page[#page + 1] = own.name .. "_sum{" .. labels .. "} " .. values[#own.buckets + 2]
  page[#page + 1] = own.name .. "_count{" .. labels .. "} " .. count
end

local function tell(page, own, by_labels)
  page[#page + 1] = "# HELP " .. own.name .. " " .. own.help
  page[#page + 1] = "# TYPE " .. own.name .. " " .. own.kind
  local shown = own.read and own.read()
  if shown then page[#page + 1] = own.name .. " " .. shown end
  table.sort(by_labels)
  for _, labels in ipairs(by_labels) do
    if own.buckets then
      tell_histogram(page, own, labels, by_labels[labels])
    else
      page[#page + 1] = own.name .. (labels == "" and "" or "{" .. labels .. "}") .. " " .. by_labels[labels][1]
    end
  end
end

-- All of it, in Prometheus' text format.
function registry.page()
  publish()
  local found, page = sums(), {}
  for _, name in ipairs(order) do
    local own = families[name]
    tell(page, own, found[own.name] or {})
  end
  return table.concat(page, "\n") .. "\n"
end

return registry
