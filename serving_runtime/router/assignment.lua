-- Who gets which variant: a pure function of salt and user key, the same as in serving_runtime/plan.py, and where a request
-- names its user.
local body = require "body"

local assignment = {}
local BUCKETS = 10000
local SEMICOLON, BLANK, TAB = 59, 32, 9
local NULL = "null"

-- The user's bucket, and their second place, by which a ramp takes users in; `prefix` is the salt and a colon.
function assignment.places(prefix, user)
  local a, b, c, d, e, f, g, h = ngx.sha1_bin(prefix .. user):byte(1, 8)
  return (a * 16777216 + b * 65536 + c * 256 + d) % BUCKETS, (e * 16777216 + f * 65536 + g * 256 + h) % BUCKETS
end

-- The header's value, or a sentence where it is there more than once. nginx joins those with commas, and to look at all
-- headers is dear: that is done where there is a comma.
local function header(key)
  local value = ngx.var[key.variable]
  local all = value and value:find(",", 1, true) and ngx.req.get_headers(0)[key.name]
  if type(all) == "table" then return nil, "the header `" .. key.name .. "` is there twice: send it once" end
  return value
end

local function is_blank(byte)
  return byte == BLANK or byte == TAB
end

-- Whether a cookie begins at this place: nothing but blanks stands between it and the one before.
local function begins(cookies, first)
  local before = first - 1
  while is_blank(cookies:byte(before)) do before = before - 1 end
  return before == 0 or cookies:byte(before) == SEMICOLON
end

-- The cookie's value from this place on, without blanks around it.
local function value_from(cookies, first)
  local last = (cookies:find(";", first, true) or #cookies + 1) - 1
  while is_blank(cookies:byte(first)) do first = first + 1 end
  while last >= first and is_blank(cookies:byte(last)) do last = last - 1 end
  return cookies:sub(first, last)
end

local function cookie(key)
  local cookies, value, from = ngx.var.http_cookie, nil, 1
  while cookies do
    local first, last = cookies:find(key.sought, from, true)
    if not first then break end
    if begins(cookies, first) then
      if value then return nil, "the cookie `" .. key.name .. "` is there twice: send it once" end
      value = value_from(cookies, last + 1)
    end
    from = last + 1
  end
  return value
end

-- The field of the body; one that is there twice was refused already.
local function field(key, found)
  local value = found[key.name]
  if not value or value.text == NULL then return nil end
  local user = value.text and body.value(value.text)
  if type(user) ~= "string" then return nil, "`" .. key.name .. "` must be a string of 1,022 bytes at most" end
  return user
end

local READ = { header = header, cookie = cookie, body = field }

local function key_of(kind, name)
  local variable = kind == "header" and "http_" .. name:lower():gsub("-", "_") or nil
  return { read = READ[kind], name = name, variable = variable, sought = name .. "=", is_last = kind == "body" }
end

assignment.OUTSIDE = { key_of("header", "x-user-id") } -- plan.py says so, too

-- Who asks, by the first of these keys that says so; nil where nobody is named. A sentence and the key's name besides
-- where it cannot be told who: the engine's side of it would be another user's. A body is looked at last, where headers
-- are silent.
function assignment.user(keys, found)
  local user
  for i = 1, #keys do
    local key = keys[i]
    if not user or not key.is_last then
      local value, sentence = key.read(key, found)
      if sentence then return nil, sentence, key.name end
      if not user and value and value ~= "" then user = value end
    end
  end
  return user
end

local function keys_of(experiment)
  local keys = {}
  for _, name in ipairs(experiment.headers or {}) do keys[#keys + 1] = key_of("header", name) end -- the first format
  for _, key in ipairs(experiment.keys or {}) do keys[#keys + 1] = key_of(key.kind, key.name) end
  return keys
end

local function testers_of(override)
  local users = {}
  for _, user in ipairs(override.users) do users[user] = true end
  return { users = users, key = key_of("header", override.header) }
end

-- What a table says of copies: whom they go to, each challenger by its share of their weights.
local function shadow_of(told, split)
  local made = {
    percent = told.percent, per_second = told.per_second, in_flight = told.in_flight, seconds = told.seconds,
    challengers = {}, last = 0,
  }
  local before = 0
  for _, variant in ipairs(split.variants) do
    if variant ~= split.control then
      made.last = made.last + variant.up_to - before
      made.challengers[#made.challengers + 1] = { variant = variant, last = made.last }
    end
    before = variant.up_to
  end
  return made
end

-- An experiment of the table, so that no request takes it apart.
local function split_of(experiment)
  local split = {
    uid = experiment.uid, prefix = experiment.salt .. ":", keys = keys_of(experiment), variants = experiment.variants,
    by_name = {}, covered = experiment.covered or BUCKETS, epoch = experiment.epoch ~= 0 and experiment.epoch or nil,
  }
  for _, variant in ipairs(experiment.variants) do split.by_name[variant.name] = variant end
  split.control, split.fallback = split.by_name[experiment.control], split.by_name[experiment.fallback]
  if type(experiment.layer) == "table" then
    local layer = experiment.layer
    split.layer = { prefix = layer.salt .. ":", first = layer.begin, last = layer["end"] - 1 }
  end
  if type(experiment.shadow) == "table" then split.shadow = shadow_of(experiment.shadow, split) end
  if type(experiment.scores) == "table" then split.scores = experiment.scores end
  if type(experiment.override) == "table" then split.testers = testers_of(experiment.override) end
  return split
end

-- The experiments on a model, of a table of any format; nil without any.
function assignment.splits(route)
  local told, splits = route.experiments or { type(route.experiment) == "table" and route.experiment or nil }, {}
  for i, experiment in ipairs(told) do splits[i] = split_of(experiment) end
  return splits[1] and splits
end

-- The version that answers in place of the default where that is a winner that bakes: who is in no layer gets it, too.
function assignment.spare(route)
  for _, split in ipairs(route.splits or {}) do
    if split.fallback and split.control.target == route.default then return split.fallback.target end
  end
end

-- Whether a user may be named in the body.
function assignment.reads_body(splits)
  for _, key in ipairs(splits[1].keys) do
    if key.is_last then return true end
  end
  return false
end

-- The experiment that has this user; nil where none of a layer's does, as of who names nobody.
function assignment.owner(splits, user)
  local first = splits[1]
  if not first.layer then return first end
  local place = user and assignment.places(first.layer.prefix, user)
  for i = 1, place and #splits or 0 do
    local layer = splits[i].layer
    if place >= layer.first and place <= layer.last then return splits[i] end
  end
end

-- The variant of an experiment for this user, and whether that is a part of it: who names nobody, or does not take part
-- yet, gets the control.
function assignment.variant(split, user)
  if not user then return split.control, false end
  local place, second = assignment.places(split.prefix, user)
  if second >= split.covered then return split.control, false end
  local variants, i = split.variants, 1
  while place >= variants[i].up_to do i = i + 1 end
  return variants[i], true
end

-- The version that answers in a variant's place: the control, or, where that is a winner that bakes, the control before it
-- in its own; nil where there is no other.
function assignment.spare_of(split, variant)
  local spare = variant.target == split.control.target and split.fallback or split.control
  return spare.target ~= variant.target and spare.target or nil
end

-- Whether this is a tester, and the variant that they choose, if they do; a sentence and the header's name besides where
-- there is no such variant. Nobody else chooses: who could would leave the experiment as they like.
function assignment.tester(split, user)
  local testers = split.testers
  if not testers or not testers.users[user] then return false end
  local name, twice = header(testers.key)
  if twice then return true, nil, twice, testers.key.name end
  if not name or name == "" then return true end
  local chosen = split.by_name[name]
  return true, chosen, not chosen and "there is no variant `" .. name .. "`", testers.key.name
end

return assignment
