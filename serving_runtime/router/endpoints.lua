-- Which pods take a version's requests. The agent keeps them in a file beside the route table; each worker looks at it
-- four times a second. What cannot be read changes nothing.
local cjson = require "cjson.safe"
local followed = require "followed"
local peers = require "peers"

local endpoints = {}
local PERIOD, FORMAT, NONE = 0.25, 1, {}
local lists

local function text(value)
  return type(value) == "string" and value or nil
end

-- nil where it cannot be read.
local function read(pod)
  if type(pod) ~= "table" or not text(pod.address) or type(pod.port) ~= "number" then return nil end
  return peers.of(pod.address, pod.port, text(pod.pod), text(pod.uid))
end

-- A version none of whose pods can be read is left to its Service.
local function listed(targets)
  local made, bad = {}, 0
  for version, pods in pairs(targets) do
    local list = {}
    for _, pod in ipairs(pods) do list[#list + 1] = read(pod) end
    bad = bad + #pods - #list
    if #list > 0 or #pods == 0 then made[version] = list end
  end
  if bad > 0 then ngx.log(ngx.ERR, "the file of endpoints has ", bad, " pods that cannot be read; passing over them") end
  return made
end

local function apply(text)
  local decoded = cjson.decode(text)
  local is_read, made = type(decoded) == "table" and decoded.format == FORMAT, nil
  if is_read then is_read, made = pcall(listed, decoded.targets) end
  if is_read then
    lists = made
  else
    ngx.log(ngx.ERR, "the file of endpoints is of no format that is known here; keeping the last ones")
  end
end

function endpoints.start(path)
  peers.start()
  followed.start(path, PERIOD, apply)
end

-- Whether one of a version's pods is known; also where none is of any, as its Service's address is all that there is.
function endpoints.has(version)
  return not lists or lists[version] ~= nil and #lists[version] > 0
end

-- Whether it is known where all backends are, to which no other address leads.
function endpoints.have_backends(targets)
  for version, target in pairs(targets) do
    if type(target.backend) == "table" and not (lists and endpoints.has(version)) then return false end
  end
  return true
end

-- The pods of a version; where they are not known yet, its Service's own address, as if it were one, which a backend
-- has not.
function endpoints.of(version, target)
  local list = lists and lists[version]
  if list then return list end
  if type(target.backend) == "table" then return NONE end
  target.service_alone = target.service_alone or { peers.of(target.host, target.port) }
  return target.service_alone
end

return endpoints
