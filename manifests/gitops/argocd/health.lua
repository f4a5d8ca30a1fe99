-- What Argo CD shows for a CollectorProfile or a CollectorSink: from the conditions that Weir's operator writes.

local health = { status = "Progressing", message = "Waiting for the operator" }

if obj.status == nil or obj.status.conditions == nil then
  return health
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end

local function holds(type)
  return conditions[type] ~= nil and conditions[type].status == "True"
end

-- What is said of an older generation, or by the definition's own default, is not about this spec.
if obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

if holds("Reconciling") then
  health.message = conditions["Reconciling"].message
  return health
end

if holds("Stalled") then
  health.status = "Degraded"
  health.message = conditions["Stalled"].message
  return health
end

local ready = conditions["Ready"]
if ready == nil then
  return health
end
health.message = ready.message

if ready.status == "True" then
  if ready.reason == "Suspended" or ready.reason == "Expired" then
    health.status = "Suspended"
  else
    health.status = "Healthy"
    -- Ready, and still something is worse than asked for: some nodes, or the delivery.
    if holds("Degraded") then
      health.message = conditions["Degraded"].message
    end
  end
  return health
end

-- Reasons that pass when agents answer or nodes come: nothing has failed.
local waits = { AwaitingAgents = true, NodesPending = true, NoMatchingNodes = true, Pending = true }
if not waits[ready.reason] then
  health.status = "Degraded"
end
return health
