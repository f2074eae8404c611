-- Who gets which variant: a pure function of salt and user key, the same as in serving_runtime/plan.py.
local assignment = {}
local BUCKETS = 10000
local OUTSIDE = { "x-user-id" } -- plan.py says so, too

function assignment.bucket(salt, user)
  local a, b, c, d = ngx.sha1_bin(salt .. ":" .. user):byte(1, 4)
  return (a * 16777216 + b * 65536 + c * 256 + d) % BUCKETS
end

local variables = {}

-- The header's value, or all values of one that is there more than once. nginx joins those with commas, and to look at
-- all headers is dear: that is done where there is a comma.
local function header(name)
  local variable = variables[name]
  if not variable then
    variable = "http_" .. name:lower():gsub("-", "_")
    variables[name] = variable
  end
  local value = ngx.var[variable]
  return value and value:find(",", 1, true) and ngx.req.get_headers(0)[name] or value
end

-- Who asks, outside experiments if in none; nil where nobody is named. A sentence and the header besides where one is
-- there twice: the engine's side of it would be another user's.
function assignment.user(experiment)
  local user
  for _, name in ipairs(experiment and experiment.headers or OUTSIDE) do
    local value = header(name)
    if type(value) == "table" then return nil, "the header `" .. name .. "` is there twice: send it once", name end
    if not user and value and value ~= "" then user = value end
  end
  return user
end

-- The experiment's variant for this request, and the user: who names nobody gets the control.
-- Without a variant: nil, a sentence, and the header that it is about.
function assignment.assign(experiment)
  local user, sentence, header = assignment.user(experiment)
  if sentence then return nil, sentence, header end
  local bucket = user and assignment.bucket(experiment.salt, user)
  for _, variant in ipairs(experiment.variants) do
    if bucket and bucket < variant.up_to or not bucket and variant.name == experiment.control then
      return variant, user
    end
  end
end

-- The control's target, for another variant's requests.
function assignment.control(experiment, assigned)
  if assigned.name == experiment.control then return nil end
  for _, variant in ipairs(experiment.variants) do
    if variant.name == experiment.control then return variant.target end
  end
end

return assignment
