-- The namespace's keys, from the environment. nginx does not start without them: it would let everybody in, and be let in
-- nowhere.
local keys = {}

local function key(name)
  local text = (os.getenv(name) or ""):match("^%s*(.-)%s*$")
  return text ~= "" and text or error(name .. " is not set: the namespace's Secret `anneal-router` holds the key", 0)
end

local MOST_HELD, LONGEST_HELD = 2048, 64 -- users, twice; bytes
local recent, older, held = {}, {}, 0
local ADMIN, USER = "Bearer " .. key("ANNEAL_ADMIN_KEY"), key("ANNEAL_USER_KEY")
local TASKS = key("ANNEAL_TASKS_KEY")

-- What an engine is sent.
keys.engine = "Bearer " .. key("ANNEAL_ENGINE_KEY")
-- And the scorer.
keys.admin = ADMIN

-- Whether a header `Authorization` is the operator's; by hashes, as how long texts take to compare tells of them.
function keys.is_admin(authorization)
  return authorization ~= nil and ngx.sha1_bin(authorization) == ngx.sha1_bin(ADMIN)
end

-- The same of a header that the task API alone sends.
function keys.is_tasks(sent)
  return sent ~= nil and ngx.sha1_bin(sent) == ngx.sha1_bin(TASKS)
end

local function hash_of(user)
  return ngx.encode_base64(ngx.hmac_sha1(USER, user))
end

-- By which this namespace's routers know what comes back to them.
keys.mark = "anneal-" .. ngx.encode_base64(ngx.hmac_sha1(USER, "mark"), true):gsub("[^%w]", "-")

-- A user as the records know them: the same in every experiment, and nobody's to guess who lacks the key. Who asks again
-- soon is not hashed again: OpenSSL takes as long for it as everything else in a line.
function keys.hashed(user)
  if #user > LONGEST_HELD then return hash_of(user) end
  local hash = recent[user]
  if hash then return hash end
  if held == MOST_HELD then recent, older, held = {}, recent, 0 end
  hash = older[user] or hash_of(user)
  recent[user], held = hash, held + 1
  return hash
end

return keys
