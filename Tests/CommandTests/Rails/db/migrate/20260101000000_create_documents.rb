class CreateDocuments < ActiveRecord::Migration[6.1]
  def change
    create_table :documents do |t|
      t.string :title, null: false
      t.text :old_field
      t.timestamps
    end
    reversible do |way|
      way.up { execute "INSERT INTO documents (title, created_at, updated_at) SELECT 'title ' || g, now(), now() FROM generate_series(1, 1000) g" }
    end
  end
end
