-- How a backend is asked: by its own name and path, over TLS where it says so, and with its own key alone. An engine of
-- ours is asked as router.conf has it.
local keys = require "keys"

local upstream = {}
local VERSIONED = "/v1"
local FRESH = 1 -- seconds
local folder
local known = {} -- by file, the backends that nginx verifies by authorities of their own
local held = {} -- what was read of each key's file, and when

function upstream.start(path)
  folder = path
end

-- Which of these files nginx has read; it does so as it begins, and never again.
function upstream.trust(files)
  known = files
end

-- The kubelet replaces the files as their Secrets change; nothing of one that is not there, or empty.
local function key_of(name)
  local known, now = held[name], ngx.now()
  if known and now >= known.at and now < known.at + FRESH then return known.text end
  local file = io.open(folder .. name)
  local text = file and file:read("*a"):match("^%s*([^%s%c]+)%s*$")
  if file then file:close() end
  held[name] = { text = text, at = now }
  return text
end

-- Where a backend has what is at this path here: what begins with /v1/ lies below its own path, and what vLLM has beside
-- that, beside it; nil where it has none.
local function path_of(backend, uri)
  if uri:sub(1, #VERSIONED + 1) == VERSIONED .. "/" then return backend.path .. uri:sub(#VERSIONED + 1) end
  if backend.path:sub(-#VERSIONED) == VERSIONED then return backend.path:sub(1, -#VERSIONED - 1) .. uri end
end

-- By whom the request went already, and this router (RFC 8586); nothing where it went by this one.
local function marked()
  local before = ngx.var.http_cdn_loop
  if before and before:find(keys.mark, 1, true) then return nil end
  return before and before .. ", " .. keys.mark or keys.mark
end

-- How a version's backend is asked for what is at this path here; nil, a status and a sentence where it cannot be.
function upstream.of(version, backend, uri)
  local marks = marked()
  if not marks then return nil, 508, "the backend of `" .. version .. "` leads back to this router" end
  local path = path_of(backend, uri)
  if not path then return nil, 404, "`" .. version .. "` is a backend that has nothing at " .. uri end
  local key = backend.key ~= "" and key_of(backend.key)
  if backend.key ~= "" and not key then return nil, 503, "the key of `" .. version .. "` is not there yet; try again" end
  local trusted = backend.trusted ~= "" and backend.trusted or nil
  if trusted and not known[trusted] then
    return nil, 503, "who vouches for the certificate of `" .. version .. "` is not known yet; try again"
  end
  local port = backend.port ~= (backend.scheme == "https" and 443 or 80) and ":" .. backend.port or ""
  return {
    address = backend.scheme .. "://backend", host = backend.host .. port, name = backend.host, uri = path,
    key = key and "Bearer " .. key or "", marks = marks, trusted = trusted,
  }
end

-- Have this request go there.
function upstream.ask(to)
  ngx.var.upstream, ngx.var.engine_key = to.address, to.key
  ngx.var.upstream_host, ngx.var.upstream_name, ngx.var.upstream_marks = to.host, to.name, to.marks
end

return upstream
