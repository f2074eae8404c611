-- The namespace's keys, from the environment. nginx does not start without them: it would let everybody in, and be let in
-- nowhere.
local keys = {}

local function key(name)
  local text = (os.getenv(name) or ""):match("^%s*(.-)%s*$")
  return text ~= "" and text or error(name .. " is not set: the namespace's Secret `anneal-router` holds the key", 0)
end

local ADMIN, USER = "Bearer " .. key("ANNEAL_ADMIN_KEY"), key("ANNEAL_USER_KEY")

-- What an engine is sent.
keys.engine = "Bearer " .. key("ANNEAL_ENGINE_KEY")

-- Whether a header `Authorization` is the operator's; by hashes, as how long texts take to compare tells of them.
function keys.is_admin(authorization)
  return authorization ~= nil and ngx.sha1_bin(authorization) == ngx.sha1_bin(ADMIN)
end

-- A user as the records know them: the same in every experiment, and nobody's to guess who lacks the key.
function keys.hashed(user)
  return ngx.encode_base64(ngx.hmac_sha1(USER, user))
end

return keys
